package replication

import "fmt"

// The rules themselves are in shim.c (authorize), where they cost no call into Go.

// refusal says in words what the authorizer refused.
func refusal(action int, what string) string {
	switch action {
	case 31: // SQLITE_FUNCTION
		return fmt.Sprintf("the function %s has another value on another replica or at another time; bind the value, such as tx.Now(), as a parameter", what)
	case 19: // SQLITE_PRAGMA
		return fmt.Sprintf("PRAGMA %s", what)
	case 22, 32: // SQLITE_TRANSACTION, SQLITE_SAVEPOINT
		return fmt.Sprintf("%s: an Update is one transaction already", what)
	case 24, 25: // SQLITE_ATTACH, SQLITE_DETACH
		return "ATTACH, DETACH and VACUUM: a database is one file"
	case 9, 18, 23: // SQLITE_DELETE, SQLITE_INSERT, SQLITE_UPDATE
		return fmt.Sprintf("writing to %s here", what)
	case 3, 4, 5, 6, 12, 13, 14, 15: // SQLITE_CREATE_TEMP_…, SQLITE_DROP_TEMP_…
		return "temporary objects: no other replica has them"
	case 28: // SQLITE_ANALYZE
		return "ANALYZE"
	case 29, 30: // SQLITE_CREATE_VTABLE, SQLITE_DROP_VTABLE
		return fmt.Sprintf("a virtual table of %s; only fts4, fts3 and rtree are known to be deterministic", what)
	}
	return fmt.Sprintf("changing %s here", what)
}

// checkNames refuses, after a change of the schema, a name that the authorizer is not
// shown: the new one of ALTER TABLE … RENAME TO.
func (c *conn) checkNames() error {
	var n int64
	err := c.one(`SELECT count(*) FROM sqlite_schema WHERE name LIKE 'replication\_%' ESCAPE '\'`, &n)
	if err == nil && n != 1 { // replication_state itself.
		return fmt.Errorf("%w: names that begin with replication_ are reserved", ErrForbiddenSQL)
	}
	return err
}
