// Package federation joins divisions into a tree: rows of feeds go up and down one hop at
// a time, mails go from any division to any other, and each division keeps serving when
// its lines are cut.
//
// A [Federation] is one division's part in the tree. It speaks over a [Wire], which may
// lose, double, delay and stall what it carries; what arrived is known by what the other
// side has committed, and by nothing else.
//
// # Guarantees
//
//   - A row that a division published is folded by its neighbour, the newest version of
//     each key, in order, each once; whatever was cut, repeated or restored in between.
//   - A mail is received exactly once, in the transaction that enters it into the
//     receiver's inbox, and stays in the sender's outbox until the sender has the receipt.
//   - A figure of another division is shown with its age; a silent one is never zero.
//
// # Not here
//
// Package leaf carries messages over NATS. Tenants' rows reach the division database by
// package tenancy. Certificates and enrolment over the line are the node's.
package federation
