// Package mesh is the network between the nodes of one machine, with a line for each pair
// and direction that can be cut, delayed and made lossy: as an ordinary user, without
// network namespaces.
//
// Each node has a door, an address that it advertises. Whoever connects to a door is told
// by the process that owns the socket (/proc), so that one address serves all others and
// every pair still has lines of its own. A cut line is a black hole: what is sent waits as
// it would in a sender's TCP, connections hang instead of being refused, and the end of a
// process is not seen either. A healed line delivers what waited, late, or breaks the
// connections that waited.
//
// Only TCP to the doors crosses the mesh. The gossip of the nodes does not; it decides
// nothing.
package mesh
