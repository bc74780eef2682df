package rotation

import "time"

// overlapEnd is when a superseded key may be deleted: its overlap runs from
// the handover to its successor. A rotation after a compromise is an upper
// limit for every key that had been handed over by then.
func (b *book) overlapEnd(l *line, k Key) time.Time {
	start, overlap := b.handover(l, k)
	end := start.Add(overlap)
	for _, r := range b.records {
		at, published := r.published(l.path)
		if r.Trigger != Compromised || r.Credential != l.name || !published || start.After(at) {
			continue
		}
		if limit := at.Add(r.Overlap); limit.Before(end) {
			end = limit
		}
	}
	return end
}

// handover is when the key's successor took over and how long both are to
// work. Vault's history and our records may both tell when; the later counts,
// so that a note from before the path named the key again is void.
func (b *book) handover(l *line, k Key) (start time.Time, overlap time.Duration) {
	successor, at, noted := b.successor(l, k)
	next := b.nextVersion(l, k, noted)
	overlap = b.Policy.Overlap
	if writer, ok := b.Records[next.RotationID]; ok && l.path.firstBy(writer.ID) == next.Number {
		overlap = writer.Overlap // else a person rolled back to what it wrote
	}
	if noted && !next.CreatedAt.After(at) {
		overlap = successor.Overlap
	}
	return later(next.CreatedAt, at), overlap
}

// firstBy is the number of the first readable version that carries the
// rotation's id; 0 if there is none.
func (p Path) firstBy(rotationID string) int {
	for _, v := range p.versions() {
		if v.Readable && v.RotationID == rotationID {
			return v.Number
		}
	}
	return 0
}

// nextVersion is the first version after the last one that names the key; the
// zero Version where no readable one does and a rotation noted the handover.
//
// A version that cannot be read may have named the key too. Only with a note
// of the handover is it taken as the successor's; without, the next readable
// one is, for a key kept too long does less harm than one deleted too early.
func (b *book) nextVersion(l *line, k Key, noted bool) Version {
	versions := l.path.versions()
	last := -1
	for i, v := range versions {
		if v.names(k.ID) {
			last = i
		}
	}
	if last < 0 && noted {
		return Version{}
	}
	since := b.livedFrom(k)
	for _, v := range versions[last+1:] {
		if last >= 0 && (noted || v.Readable) {
			return v
		}
		if last < 0 && v.Readable && v.KeyID != "" && v.CreatedAt.After(since) {
			return v
		}
	}
	return l.path.Current
}

// livedFrom is when the key became current, or was made: the version that
// superseded it cannot be older.
func (b *book) livedFrom(k Key) time.Time {
	if r, ok := b.maker(k); ok && !r.PublishedAt.IsZero() {
		return r.PublishedAt
	}
	return k.CreatedAt
}
