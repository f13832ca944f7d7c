// Package statistics counts applications and decisions by division, item and day, at every
// level of the tree.
//
// A tenant's database counts with [service.Tx.Count] and publishes the day's figures of an
// item. The division folds them, and those that its children send, and publishes what it
// holds upward, so that each level has the figures of every division below it.
//
// # Guarantees
//
//   - Every row is an absolute value under its division, code and day: whatever is sent
//     again, in whatever order, counts once.
//   - A child speaks of itself and of divisions below it, and of nobody else.
//   - Above the county items are added up under their code of the basic catalog; an item
//     without one keeps its own code, and is told apart by its division.
//   - A figure of another division is shown with its age; what was never reported is not
//     shown as zero.
//
// # Cost
//
// Daily figures are kept for ever; sums by division and day, and by division and item, are
// kept beside them as rows are folded, so that no page adds up daily figures. A row costs
// about six statements to fold. [Definition]'s page reads one sum for each division and
// measure (6,600 at the nation) and 30 days; its table of items reads each item once.
//
// # Not here
//
// Carrying rows between divisions, and how old they are, is package federation's; names of
// items are package catalog's.
package statistics
