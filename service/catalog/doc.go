// Package catalog holds a division's service items (政务服务事项): their import, the
// quarantine of rows whose codes are wrong, bulk repair, guides, and search.
//
// An item lives in its department's main database. What people search is a copy in the
// division database that follows it as the feed "catalog.items", and goes on to every
// division above as the feed "catalog.offers": search at each level finds its own items
// and those of all divisions below. The basic catalog 基本目录, of which items are
// implementations, is set by the division that has no parent, and comes down as the feed
// "catalog.basic".
//
// # Guarantees
//
//   - An import drops no row and rejects no file for a row: what cannot be published is in
//     quarantine with every reason.
//   - The check character of the body's unified social credit code (GB 32100-2015)
//     decides whether a row is published. Rows that have no name, no code, the code of
//     another row or that could not be read cannot be published either.
//   - Importing the same file again changes nothing.
//   - A guide field that the department has not filled is either inherited from the
//     demonstration catalog, by the item's name and marked so, or shown as missing.
//   - A child tells of itself and of divisions below it, of no other.
//   - What is shown of a division that cannot be reached is shown with its age.
//   - What a person types into the search box is never query syntax and never an error.
//
// # Not here
//
// The demonstration catalog is in package demo below, cases in package cases.
package catalog
