// Package appliance makes a bare box a node, and looks after it: install, doctor, backup,
// restore, verify.
//
// # Guarantees
//
//   - A backup is one file of all databases of the division. It is encrypted with age under
//     a passphrase, and nothing is needed besides file and passphrase to restore it.
//   - A backup or restore that fails leaves nothing behind, and never a half file or folder
//     under the final name.
//   - Restore makes a new division node that no box from before can meet: the old boxes'
//     names are taken, and their gossip key is void.
//   - [Verify] and [Examine] change nothing in a data folder.
//
// # Not here
//
// The backup's key of trust (the authority) is opened and sealed by package node; how a
// database file is copied and seeded is in package replication.
package appliance
