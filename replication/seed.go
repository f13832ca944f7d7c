package replication

// Seed makes a restored replica: fromFile becomes the base of a new raft group with
// node as its only voter.
func Seed(dataDir string, node NodeID, id DatabaseID, fromFile string) error { return errNotYet }
