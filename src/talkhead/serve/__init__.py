"""Ways into talkhead. Each turns its own kind of call into a request and hands it to the job."""
