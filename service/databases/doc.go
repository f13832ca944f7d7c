// Package databases gives programs of a department databases of their own, over HTTP: the
// interface of rqlite (https://rqlite.io/docs/api/), so that its clients work unchanged.
//
// [Definition] has the keys and the operator's calls; [Server] serves the listener.
//
// # Guarantees
//
//   - Who asks is known by a key, which opens one database, for reading and writing or for
//     reading only. Whoever has no key for a database learns nothing of it, not even whether
//     it is there.
//   - A key that was revoked opens nothing at any node that has applied the revocation.
//   - A key that only reads changes nothing, whatever the statement looks like: SQLite's
//     authorizer decides, not a look at the text.
//   - An answer of 200 to a write came after its commit (but for ?queue without ?wait). An
//     answer of 503 says in Tongban-Outcome whether the change is certainly not made ("none")
//     or may be ("unknown").
//   - Nothing waits for long for a leader that is not there: 503 within two seconds.
//
// # Not here
//
// Which databases there are and on which nodes is in package tenancy, how they are kept
// identical in package replication.
package databases
