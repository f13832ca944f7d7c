package replication

// OnHeartbeat makes f run when a peer has answered a heartbeat, before anything is made of that.
func OnHeartbeat(o *Options, f func(n NodeID)) { o.hooks.answered = f }

// BeforeVerify makes f run before a majority is asked whether this node leads.
func BeforeVerify(o *Options, f func()) { o.hooks.beforeVerify = f }
