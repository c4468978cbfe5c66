"""`rudp demo`: a chat and a file over a bad link, in separate processes."""
