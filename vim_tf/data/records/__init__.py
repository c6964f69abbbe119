"""What is on disk between the stages: sharded files of images and of tokens."""
