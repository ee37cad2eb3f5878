"""What an operator or a trader must hear of now: rules on the tables, a record in `alerts`, delivery through apprise."""
