package catalog

// BasicCode returns the code of the basic catalog that an item code contains: of a national
// code of 31 characters its last 12, of the other schemes their first part. ok is false when
// the code follows no scheme.
func BasicCode(code string) (basic string, ok bool) {
	p, ok := takeApart(code)
	return p.basic, ok
}
