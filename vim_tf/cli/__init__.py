"""The frame of every command: flags, help, exit statuses and what is shown on the terminal."""
