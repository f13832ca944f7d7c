// Package repo holds the rules of this repository as ordinary tests: which package may
// import which, where each large dependency has its door, how long files and functions
// may be, what must be documented. A failure says the rule, its reason and the place.
//
// exceptions.txt lists what is over a soft limit, each with its reason.
package repo
