package verdict

// edge leads to a node, with its reason in words.
type edge struct {
	to  int
	why string
}

// graph holds each node's edges.
type graph [][]edge

// cycle returns the edges of one cycle, each leading to the next one's node; nil: none.
func (g graph) cycle() []edge {
	rest := g.inCycles()
	start := -1
	for i, left := range rest {
		if left {
			start = i
			break
		}
	}
	if start < 0 {
		return nil
	}
	// Each node that is left has an edge to another that is left: the walk must meet itself.
	at, step := map[int]int{start: 0}, []edge{}
	for now := start; ; {
		for _, e := range g[now] {
			if rest[e.to] {
				step = append(step, e)
				now = e.to
				break
			}
		}
		if begin, met := at[now]; met {
			return step[begin:]
		}
		at[now] = len(step)
	}
}

// inCycles takes away, again and again, nodes without an edge into them, and nodes without
// an edge out of them: those that are left lie on cycles or between two.
func (g graph) inCycles() []bool {
	back := make([][]int, len(g))
	into, out := make([]int, len(g)), make([]int, len(g))
	for i, edges := range g {
		out[i] = len(edges)
		for _, e := range edges {
			into[e.to]++
			back[e.to] = append(back[e.to], i)
		}
	}
	left := make([]bool, len(g))
	var bare []int
	for i := range g {
		left[i] = true
		if into[i] == 0 || out[i] == 0 {
			bare = append(bare, i)
			left[i] = false
		}
	}
	for len(bare) > 0 {
		i := bare[len(bare)-1]
		bare = bare[:len(bare)-1]
		drop := func(k int, count []int) {
			if count[k]--; count[k] == 0 && left[k] {
				left[k] = false
				bare = append(bare, k)
			}
		}
		for _, e := range g[i] {
			drop(e.to, into)
		}
		for _, k := range back[i] {
			drop(k, out)
		}
	}
	return left
}
