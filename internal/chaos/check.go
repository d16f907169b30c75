package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience bounds the check of one record's history.
const patience = time.Minute

// linearizable checks the history of each record, and says how long that took.
func (r *run) linearizable(ops []*op) time.Duration {
	began := time.Now()
	model := newModel(func(reg int) int { return r.regs.get(reg).client })
	for _, o := range ops {
		o.lossy = r.losses.during(o.call, o.ret)
	}
	byKey := make([][]porcupine.Operation, len(r.keys))
	for _, o := range simplify(ops) {
		byKey[o.key] = append(byKey[o.key], porcupine.Operation{ClientId: o.client + 1, Input: o, Call: int64(o.call), Return: int64(o.ret)})
	}
	for k, ops := range byKey {
		result, info := porcupine.CheckOperationsVerbose(model, ops, patience)
		if result == porcupine.Ok {
			continue
		}
		path := filepath.Join(r.cfg.Dir, fmt.Sprintf("history-%s-%s.html", r.keys[k].service, r.keys[k].id))
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			path = err.Error()
		}
		var dumped []*op
		for _, p := range ops {
			dumped = append(dumped, p.Input.(*op))
		}
		r.dump(path+".txt", dumped)
		if result == porcupine.Unknown {
			r.violated("whether the history of %v is linearizable (%d operations) could not be told in %v; picture: %s", r.keys[k], len(ops), patience, path)
		} else {
			r.violated("the history of %v (%d operations) is not linearizable; picture: %s", r.keys[k], len(ops), path)
		}
		break
	}
	return time.Since(began)
}

// dump writes operations as text, in the order in which they were noted.
func (r *run) dump(path string, ops []*op) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	for _, o := range ops {
		k := r.keys[o.key]
		fmt.Fprintf(f, "%12v %12v client %2d: %s/%s %v (may lack: %x)\n", o.call.Round(time.Microsecond), o.ret.Round(time.Microsecond), o.client, k.service, k.id, o, o.lossy)
	}
}
