package rotation

// classify says what each key of the line is. Sinch is right about which keys
// exist, Vault's path about which one is current, our records about intents,
// history and whose orphan a key is. Whatever none of them vouches for is
// only reported.
func (b *book) classify(l *line) {
	for _, v := range l.keys {
		v.RotationID = b.rotationID(v.Key)
		v.State = b.state(l, v.Key)
		if v.State == CurrentKey {
			l.current = v
		}
		if l.inScope {
			v.Deadline = v.CreatedAt.Add(b.Policy.MaxAge)
		}
	}
	candidates := l.holds(AdoptableKey)
	adopted := candidate(l.name, candidates)
	for _, v := range candidates {
		if v != adopted {
			v.State = UnmanagedKey
		}
	}
	l.standing = l.stands(adopted)
	for _, v := range l.holds(SupersededKey, HeldKey) {
		// Without a successor that works, nothing has superseded the key yet.
		if l.current != nil {
			v.RetireAt = b.overlapEnd(l, v.Key)
		}
	}
}

func (l *line) stands(adopted *KeyView) *KeyView {
	superseded := l.holds(SupersededKey, HeldKey)
	switch {
	case l.current != nil:
		return l.current
	case adopted != nil:
		return adopted
	case l.inScope && len(superseded) > 0:
		return superseded[0]
	}
	return nil
}

func (b *book) state(l *line, k Key) KeyState {
	name := ParseName(k.DisplayName)
	maker, ours := b.maker(k)
	switch {
	case !l.inScope:
		return UnmanagedKey
	case l.path.Err != "":
		return UnknownKey
	case l.path.Current.names(k.ID):
		return CurrentKey
	case b.superseded(l, k):
		if b.Policy.Adopt == AdoptKeep && !ours && !l.path.rotated(k.ID) {
			return HeldKey
		}
		return SupersededKey
	case ours && name.RotationID == maker.ID:
		return OrphanKey
	case ours || name.marked():
		return UnknownKey
	case l.foreign || l.path.Current.KeyID == "":
		return AdoptableKey
	}
	return UnmanagedKey
}

// superseded reports whether the key, which is not current, once was: a
// readable version names it, its own rotation was published, or one that
// replaced it was.
func (b *book) superseded(l *line, k Key) bool {
	if l.path.named(k.ID) {
		return true
	}
	if maker, ours := b.maker(k); ours {
		_, published := maker.published(l.path)
		return published
	}
	_, _, replaced := b.successor(l, k)
	return replaced
}

// rotated reports whether a rotation wrote a version that names the key, so
// that rotator made the key even if its records are lost.
func (p Path) rotated(keyID string) bool {
	for _, v := range p.versions() {
		if v.names(keyID) && v.RotationID != "" {
			return true
		}
	}
	return false
}

// candidate picks the key to adopt where several names read as the same
// credential's (`x` and `x (superseded 2025-01-01)`): the one that is called
// so exactly, else the newest. The others are only reported.
func candidate(name string, keys []*KeyView) *KeyView {
	for _, v := range keys {
		if v.DisplayName == name {
			return v
		}
	}
	if len(keys) > 0 {
		return keys[0]
	}
	return nil
}

// rotationID is the rotation that made the key, as far as anyone says.
func (b *book) rotationID(k Key) string {
	if r, ok := b.maker(k); ok {
		return r.ID
	}
	return ParseName(k.DisplayName).RotationID
}

// stuck returns a key that an unfinished or failed rotation left behind; nil
// if there is none. While one is listed no further key is made.
func (b *book) stuck(l *line) *KeyView {
	for _, v := range l.holds(OrphanKey, UnknownKey) {
		if _, ours := b.maker(v.Key); ours {
			return v
		}
	}
	return nil
}
