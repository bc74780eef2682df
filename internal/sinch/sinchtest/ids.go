package sinchtest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strconv"
)

// derive gives the same bytes for the same server seed, purpose and text.
func (s *Server) derive(purpose, text string) []byte {
	input := binary.BigEndian.AppendUint64(make([]byte, 0, 128), s.cfg.Seed)
	input = append(append(append(input, purpose...), 0), text...)
	sum := sha256.Sum256(input)
	return sum[:]
}

func (s *Server) secretOf(keyID string) string {
	return base64.RawURLEncoding.EncodeToString(s.derive("secret", keyID)[:24])
}

// newKeyID looks like a UUID.
func (s *Server) newKeyID() string {
	s.ids++
	h := hex.EncodeToString(s.derive("key", strconv.FormatUint(s.ids, 10))[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// newSubprojectID looks like a ULID.
func (s *Server) newSubprojectID() string {
	s.ids++
	return "01" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(s.derive("subproject", strconv.FormatUint(s.ids, 10))[:15])
}

// rank orders listings: neither by time nor by id, but always the same way.
func (s *Server) rank(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, s.cfg.Seed)) // never fails
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}
