"""The client of a served model: gRPC or REST, blocking or asyncio, batch or stream."""
