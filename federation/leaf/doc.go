// Package leaf is the wire between a division and its neighbours: a request and its answer
// over NATS leaf connections, one hop, between one node of each side.
//
// A [Server] serves up to two hops of its node, each an embedded NATS server of its own
// with one account and an in-process client: the hop down, which accepts the leaf
// connections of children's nodes, and the hop up, which keeps one to a node of the
// parent. Nothing passes from one hop to the other but through [Options.Handle], so the
// application relays, authorises and records whatever goes further.
//
// # Guarantees
//
//   - A child publishes only under up.<child> and receives only under dn.<child> and
//     dn.all; who it is comes from its certificate through [Options.Authorize] alone.
//   - An answer goes only to a subject under which the asking neighbour may receive
//     (the confused deputy: a neighbour chooses the reply subject of its request).
//   - A slow or flooding neighbour fills its own queues and no other's.
//   - What is late, doubled or forged is dropped.
//
// Whether a request that got no answer was carried out is not known; the caller's protocol
// must bear a repetition.
//
// # Subjects
//
//	up.<child>.rq.<kind>           a child's request      reply: dn.<child>.rp.<node>.<id>
//	dn.<child>.rq.<node>.<kind>    its parent's request   reply: up.<child>.rp.<node>.<id>
//
// <child> is level and code, as county-511602; <node> is the name of the embedded server
// that the message goes to, new at each start. The parent picks one of the child's nodes
// by name. A queue group would do that too, but a child that joins the group of another
// one by a wildcard subscription is picked, and then refused: the message is lost.
//
// # Not here
//
// Certificates and which children there are (package node), what is said over the wire
// (package federation), and the way to a sibling node that has a line when this one has
// none (package node).
package leaf
