// Package audit is the append-only, hash-chained record of every change and refusal in a
// database.
//
// Each row carries the hash of the row before it, and the database carries the number
// and hash of the newest row (the [Head]). [Append] writes a row in the transaction of
// the change itself, so that neither exists without the other; triggers refuse UPDATE,
// DELETE and rows out of turn. [Verify] walks the chain.
//
// # Guarantees
//
//   - A row that was altered, removed, inserted, moved or swapped by someone who can
//     write the file is found, and so is a missing end of the chain.
//   - Someone who can write the file *and* recomputes every later hash and the head makes
//     a chain that is consistent in itself. That is found only from outside: by the other
//     replicas (their checksums differ) and by heads noted earlier, such as a backup's,
//     which [Verify] takes as known.
//
// # Not here
//
// Who may do what is decided by the node from the routes' permissions.
package audit
