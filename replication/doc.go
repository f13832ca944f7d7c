// Package replication keeps one SQLite database identical on several nodes, and many
// such databases in one process.
//
// An [Engine] is one node's share: one log store, one transport, many databases. A [DB]
// is one database and the raft group that orders its changes. [DB.Update] is the only
// way to change it, [DB.View] the way to read it.
//
// # Guarantees
//
//   - An Update that returned nil survives the loss of any minority of the nodes.
//   - Every replica executes the same statements in the same order, each once.
//   - A replica that cannot execute a statement stops; it never skips one.
//   - Updates of one database are serializable: each closure sees the effects of all
//     that committed before it and of none that did not.
//
// # Not here
//
// Tenants and placement are in package tenancy, services in package service.
// DESIGN.md in this folder explains the write path, reads and recovery.
package replication
