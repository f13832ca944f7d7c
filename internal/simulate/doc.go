// Package simulate runs a whole tree of divisions in virtual time: the real code of the
// federation, over lines in memory that lose, delay, double and reorder, on databases
// without raft.
//
// A [World] is the tree. It lives inside a bubble of testing/synctest, where 30 days take
// seconds. Its faults are drawn from a seed: lines are cut, divisions change their leader,
// are restored from old backups, or are cloned. In the end everything heals, and every
// division must hold exactly what its neighbours' databases say, without a hand's help.
//
// A service joins the simulation by its Definition (see [Options]) and by what its tests
// check in the end.
//
// # Not here
//
// Real lines, certificates and processes are tested in federation/leaf and node, and by the
// demonstration.
package simulate
