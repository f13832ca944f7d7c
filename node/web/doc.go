// Package web is the way of a request through the program: it mounts the services'
// routes, finds out who asks and whether they may, brings what writes to the leader of
// its database, and renders the answer.
//
// The same routes are reached by three doors, which differ in who is believed:
//
//	Public    people's port: sessions, same-origin check, throttle
//	Admin     the admin socket: whoever may open it is the operator
//	Internal  the node port: requests that another node of the division proxied;
//	          forwarding headers count only here, and nothing is proxied on
//
// A request that writes is answered by the leader of the route's database. The node that
// received it tries again with the same idempotency key while leadership moves.
package web
