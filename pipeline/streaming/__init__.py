"""Predict an event stream: each event of a Kafka topic is answered once, in the order of event time."""
