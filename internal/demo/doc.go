// Package demo runs four levels of divisions on this machine: nine processes of this
// binary on loopback, in a temporary folder, with real items, real accounts and no door
// that an installed division would not have. Each division is enrolled with its parent
// over a line (package relay) that can be cut.
//
// [Show] leaves it to people to try, on a page with the live tree (package page). [Script]
// puts the district under load, kills the node that leads most, brings it back, sees its
// cases counted at every level, cuts a line above it, serves and lodges cases meanwhile,
// heals, makes a backup, restores it, and counts what was lost. package bench measures one
// [District] alone.
//
// # Guarantees
//
//   - Whatever ends a run, its processes are stopped: in good order, by their process id
//     after eight seconds, and by the kernel when this process itself is killed.
//   - Every figure of a [Summary] was counted in this run.
//   - Two runs at once do not meet: folders are fresh and ports are free ones.
package demo
