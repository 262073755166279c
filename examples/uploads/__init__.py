"""Files from a folder to S3 and FTP: resumed in mid-file, read back, and deleted here only when they are there."""
