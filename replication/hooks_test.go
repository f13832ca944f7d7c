package replication

// BeforeVerify makes f run before a majority is asked whether this node leads.
func BeforeVerify(o *Options, f func()) { o.hooks.beforeVerify = f }
