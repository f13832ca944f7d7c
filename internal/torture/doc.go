// Package torture runs a division of three real processes, breaks their machines and lines
// on purpose while clients write and read, and judges what the clients were told: nothing
// acknowledged may be lost, nothing may be there twice, and the histories must be
// linearizable.
//
// The clients use the SQL door (package service/databases) as any program would: see
// workload.go. The faults and their order come of a seed: see faults.go. The judges are in
// package verdict. What the machine or the user cannot do is in [Report].NotRun with its
// reason, and is never counted.
//
// Lines between the nodes are cut by package mesh, or by network namespaces (root). Power
// cuts, full disks and disks that fail need a file system of their own for each node (root):
// see disk.go.
//
// Not here: a disk that is slow, for which the kernel's device mapper is needed, which few
// machines that run tests have; nor a change of members, which package replicationtest makes
// under faults in virtual time.
package torture
