package rotation

import "fmt"

// Guards: what stands against a deletion or a rotation. They appear in plans,
// results and the audit log.
const (
	GuardLastKey       = "last_key"           // the project would have no key left
	GuardNamedByVault  = "named_by_vault"     // consumers read it
	GuardOwnKey        = "own_key"            // a live process authenticates with it
	GuardIncomplete    = "incomplete_listing" // not every key is known
	GuardAdoptKeep     = "adopt_keep"         // made by people, ROTATOR_ADOPT=keep
	GuardUnmanaged     = "unmanaged"          // not ours to touch
	GuardUnknown       = "unknown_marked"     // marked, but nobody vouches for it
	GuardNotListed     = "not_listed"         // gone, or never there
	GuardNotSuperseded = "not_superseded"     // it has no successor that works
	GuardOverlap       = "overlap_running"    // a key is still within its overlap
	GuardForeignPath   = "foreign_path"       // the path holds what we did not write
	GuardPath          = "path_unreadable"    // Vault did not show what is current
	GuardHistory       = "history_unknown"    // Vault did not show what was current
	GuardOrphan        = "orphan_first"       // a failed rotation's key is still there
	GuardBackOff       = "back_off"           // attempts failed a short while ago
	GuardFullProject   = "full_project"       // no free slot for a new key
	GuardUnsettled     = "unsettled"          // the named key is neither listed nor known to be gone
)

// GuardDelete says whether the listed key may be deleted now; if not, which
// guard stands against it and what to do about it. Decide has asked it for
// every deletion that it plans; ask again, with facts gathered afresh, right
// before the key is deleted.
func GuardDelete(f Facts, key Key) (guard, reason string, ok bool) {
	b := open(f)
	l, v := b.lineOf(key.ID)
	if guard, reason, ok = b.guardAny(key.ID); !ok {
		return guard, reason, false
	}
	if v == nil {
		return GuardNotListed, "Sinch does not list the key any more; nothing is left to do", false
	}
	if guard, reason, ok = b.guardLine(l); !ok {
		return guard, reason, false
	}
	switch v.State {
	case OrphanKey:
		return b.guardOrphan(l)
	case SupersededKey:
		return b.guardSuperseded(l, v)
	case HeldKey:
		return GuardAdoptKeep, "people made this key and ROTATOR_ADOPT=keep never deletes such; delete it in the Sinch dashboard when nobody uses it", false
	case CurrentKey:
		return GuardNamedByVault, "consumers use this key; rotate the credential instead", false
	case AdoptableKey:
		return GuardNotSuperseded, "nothing has replaced this key yet; rotate the credential instead", false
	case UnknownKey:
		return GuardUnknown, "the key carries a rotation id that this installation does not vouch for; if no other one uses it, delete it in the Sinch dashboard", false
	case UnmanagedKey:
	}
	return GuardUnmanaged, "the key is out of scope or a person's; include its credential in ROTATOR_INCLUDE, or delete it in the Sinch dashboard", false
}

// guardAny holds for every key, whatever it is.
func (b *book) guardAny(keyID string) (guard, reason string, ok bool) {
	switch {
	case !b.Complete:
		return GuardIncomplete, "Sinch's list of keys could not be read to its end; run again, nothing is deleted until it is whole", false
	case b.Blocked.Guard != "":
		return b.Blocked.Guard, b.Blocked.Reason, false
	case b.Own[keyID]:
		return GuardOwnKey, "a live rotator process still authenticates with this key; each moves on to the new one at its next run, end one that does not", false
	case b.namedBy(keyID) != "":
		return GuardNamedByVault, fmt.Sprintf("the newest version of Vault's path for %q names this key; rotate that credential first", b.namedBy(keyID)), false
	case len(b.Keys) <= 1:
		return GuardLastKey, "it is the last key of the project; create another one first", false
	}
	return "", "", true
}

// namedBy returns the first credential whose path's newest version names the
// key; empty if none does.
func (b *book) namedBy(keyID string) string {
	for _, name := range b.names {
		if b.Paths[name].Current.names(keyID) {
			return name
		}
	}
	return ""
}

// guardLine holds for every key of a credential. Only the credential's own
// path has to be readable: else one path that never is, because of a hostile
// name perhaps, would keep every other key of the project past its age limit.
func (b *book) guardLine(l *line) (guard, reason string, ok bool) {
	switch {
	case !l.inScope:
		return "", "", true // unmanaged, which says it better
	case l.path.Err != "":
		return GuardPath, unreadablePath(l), false
	case l.foreign:
		return GuardForeignPath, foreignPath, false
	}
	return "", "", true
}

const foreignPath = "Vault's path holds data that rotator did not write, and is never overwritten; move that data elsewhere, or exclude the credential in ROTATOR_EXCLUDE"

func unreadablePath(l *line) string {
	return "Vault's path could not be read: " + l.path.Err
}

// guardOrphan insists on the path's history: an orphan is a key that no
// version ever named.
func (b *book) guardOrphan(l *line) (guard, reason string, ok bool) {
	if l.path.Current.Number > 1 && len(l.path.Older) == 0 {
		return GuardHistory, "Vault's path keeps no older versions, so the key may once have been published; allow more in its max_versions, or delete the key in the Sinch dashboard", false
	}
	return "", "", true
}

func (b *book) guardSuperseded(l *line, v *KeyView) (guard, reason string, ok bool) {
	switch {
	case l.current == nil:
		return GuardNotSuperseded, "Vault's path names no key that Sinch lists, so nothing has replaced this one; rotate the credential first", false
	case v.RetireAt.After(b.Now) && !b.toRetireNow(v):
		return GuardOverlap, fmt.Sprintf("its overlap runs until %s; run-now --compromised --key %s ends it", stamp(v.RetireAt), v.ID), false
	}
	return "", "", true
}

// toRetireNow reports whether a person declared this very key compromised.
func (b *book) toRetireNow(v *KeyView) bool {
	return b.Request.Compromised && b.Request.Key == v.ID && !b.Request.Done[v.Credential]
}
