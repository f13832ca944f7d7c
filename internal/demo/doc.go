// Package demo runs one district on this machine: three processes of this binary on
// loopback, in a temporary folder, with real items, real accounts and no door that an
// installed division would not have.
//
// [Show] leaves it to people to try. [Script] puts it under load, kills the node that
// leads most, brings it back, makes a backup, restores it, and counts what was lost.
// package bench measures the same [District].
//
// # Guarantees
//
//   - Whatever ends a run, its processes are stopped: in good order, by their process id
//     after eight seconds, and by the kernel when this process itself is killed.
//   - Every figure of a [Summary] was counted in this run.
//   - Two runs at once do not meet: folders are fresh and ports are free ones.
package demo
