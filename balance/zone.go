package balance

type zoned struct {
	zone  string
	inner Policy
}

// Zone picks by policy among the instances whose "zone" in Meta is this one, as long as
// there are any that are neither left out nor drained; for a request that has tried them
// all, among the others. Where there is none, the others are picked from; and so are all,
// of any zone, where so many are left out that they count again (see [Options.Panic]).
// policy must not be nil.
func Zone(zone string, policy Policy) Policy { return zoned{zone, policy} }

func (p zoned) Measures() bool { return p.inner.Measures() }

func (p zoned) Prepare(set []*Node) func(Request) int {
	var near, far []int
	lives := false // somebody near
	for i, n := range set {
		if n.in.Meta["zone"] == p.zone {
			near = append(near, i)
			lives = lives || !n.out
		} else {
			far = append(far, i)
		}
	}
	if !lives || len(far) == 0 {
		return p.inner.Prepare(set)
	}
	nodes, others := part(set, near), part(set, far)
	pick, pickFar := p.inner.Prepare(nodes), p.inner.Prepare(others)
	return func(r Request) int {
		if len(r.Tried) == 0 {
			if i := pick(r); uint(i) < uint(len(near)) {
				return near[i]
			}
		} else if i := untried(nodes, pick, r); i >= 0 {
			return near[i]
		}
		if i := untried(others, pickFar, r); i >= 0 {
			return far[i]
		}
		return -1
	}
}
