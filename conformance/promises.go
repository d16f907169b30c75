package conformance

// promises are what the library promises its users, by number. A case prints the
// one that it checks when it fails. docs/promises.md lists them with their cases.
//
// R is a round trip to the registry, T the TTL that the server granted, W the
// delivery of a change to a watcher, B registry.MaxBackoff, E the election time
// of the registry's own cluster, and Dmax the longest time for a dead owner's
// record to go.
var promises = map[int]string{
	1:  `After Register returns nil, a fresh Lookup from any other client sees the instance.`,
	2:  `The reply to the write is lost after it took effect: exactly one record, and Register still returns the truth within 3R of reconnecting.`,
	3:  `The same (Service, ID) registered again by a newer Registry wins at once, with no moment in which the instance is absent. The older Registration's Done closes, its Err is ErrSuperseded, it never writes again, and its Deregister leaves the newer record alone.`,
	4:  `A process that crashed and restarted within T, with the same ID, is registered again at once (it does not wait for the old session), and the old session's later expiry does not take the new record away.`,
	5:  `The session is killed on the server: the record is back within reconnect + backoff + 2R, with the *latest* metadata.`,
	6:  `A connection that drops and returns within T: watchers see no change at all.`,
	7:  `Someone else deletes the record: it is back within W + 2R.`,
	8:  `The registry is down at start: Register waits and succeeds within B + 2R of the registry's return, or ends with the caller's context, whose error wraps the last cause.`,
	9:  `Deregister is seen by others within R + W (not Dmax) and is idempotent.`,
	10: `A Deregister that races a reconnect never brings the record back.`,
	11: `Deregister during an outage returns an error in the caller's time; renewal has stopped; the record goes by recovery + Dmax.`,
	12: `Ending one Registration leaves its siblings on the same session alone.`,
	13: `Update: readers see the old or the new record, never none and never a mixture; the registration's own readers never see an older one after a newer one.`,
	14: `A parent path that vanishes between check and create (ZooKeeper containers, an operator's clean-up) costs a retry, not the registration.`,
	15: `When Register returns an error, nothing stays registered.`,
	16: `kill -9 of the owner: the record goes within [T, Dmax], not sooner and not later.`,
	17: `The owner stopped (SIGSTOP) for less than T minus one renewal interval: no removal. For longer than Dmax: removed; after SIGCONT registered again within reconnect + 2R.`,
	18: `An owner cut off from the registry learns that it can no longer prove its registration (Registration.Err non-nil) no later than T after the *send* of its last acknowledged renewal, by its own clock.`,
	19: `One lost renewal costs nothing (renew at least every T/3).`,
	20: `A TTL below or above the server's limits gives the effective TTL, readable, or a clear error.`,
	21: `The registry's leader dies with E < T: no live instance is removed.`,
	22: `Outage much longer than T: the living are back within B + 2R of recovery, the dead are gone by recovery + Dmax.`,
	23: `The client's wall clock jumps by an hour: nothing changes (monotonic time only).`,
	24: `A thousand clients come back together: their writes are spread by jitter; of N clients at most 2N in any second.`,
	25: `(consulreg) A record whose session expired can be taken again within 2 s: the default 15 s lock delay is not in the way.`,
	26: `The first Snapshot is the whole set, confirmed by the registry. "Not yet known" is never shown as "empty".`,
	27: `After any faults and a settling time, every watcher's set equals a fresh Lookup.`,
	28: `What was deleted and created while the watcher was cut off is shown within reconnect + 2R.`,
	29: `(etcdreg) History compacted past the watcher's revision: one fresh listing, no false removal.`,
	30: `Total outage of any length: the set stays, with Err set and the time of last confirmation; no removals. On recovery one new snapshot, Err nil.`,
	31: `A registry restored from an older state, or a lagging replica: the watcher converges; it never stays on a dead revision.`,
	32: `Denied, filtered or undecodable is an error or a counted skip: never an empty set.`,
	33: `A half-open connection is noticed within 2T/3.`,
	34: `A watcher on an isolated minority member moves to a healthy member.`,
	35: `A slow reader skips to the newest set: bounded memory, and renewals and other readers go on.`,
	36: `Changes to other services, 100 a second, deliver nothing to this watcher. A quiet watch costs the registry O(1) a TTL, whatever the number of instances.`,
	37: `One undecodable record is skipped, counted and logged once; the others are delivered.`,
	38: `A record over the size limit is refused before it is sent, with ErrTooLarge. A listing over the client's limit is an error, not a reconnect loop.`,
	39: `Watchers of one service in one Registry share one watch on the backend.`,
	40: `Histories of register, deregister, update and lookup from many clients are linearizable (porcupine); an operation that timed out may have happened or not.`,
	41: `Close withdraws everything, ends all watches with ErrClosed, waits for its goroutines and is bounded by T. A thousand Open/Close cycles leak no goroutine, descriptor, session or watch.`,
	42: `A cancelled context at any wait returns within 50 ms.`,
	43: `Denied: surfaced as ErrDenied, at most one try per B. Given back: recovery without restart (see 32). Credentials stay those that the Backend was made with.`,
	44: `One seeded list of operations gives the same trace on all backends.`,
	45: `A time server stopped without warning: the client's next call succeeds on another within one dial timeout, not after Dmax.`,
	46: `The registry is gone and the servers live: every request of a running client succeeds.`,
	47: `Drain (deregister, wait W, finish requests, stop): no failed request.`,
}
