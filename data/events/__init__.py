"""Events of a stream: messages read as rows of training, put in the order of their time."""
