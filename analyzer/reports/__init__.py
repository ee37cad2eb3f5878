"""A window as a page that one likes to read: `reading` asks the server, `findings` says what stands out, `charts` draws,
`page` and `markdown` write."""
