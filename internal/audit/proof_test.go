package audit_test

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// merkleAccepts reads a proof's file with nothing of ours, as docs/proofs.md
// tells it, and lets transparency-dev/merkle judge it.
func merkleAccepts(text string) error {
	blocks := strings.Split(text, "\n\n")
	head := strings.Split(blocks[0], "\n")
	if head[0] == "c2sp.org/tlog-proof@v1" {
		body, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(head[1], "extra "))
		if err != nil {
			return err
		}
		index, err := strconv.ParseUint(strings.TrimPrefix(head[2], "index "), 10, 64)
		if err != nil {
			return err
		}
		size, root, err := merkleHead(blocks[1])
		if err != nil {
			return err
		}
		return proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, rfc6962.DefaultHasher.HashLeaf(body), merkleHashes(head[3:]), root)
	}
	if len(blocks) != 5 {
		return fmt.Errorf("%d blocks", len(blocks))
	}
	size1, root1, err := merkleHead(blocks[1])
	if err != nil {
		return err
	}
	size2, root2, err := merkleHead(blocks[3])
	if err != nil {
		return err
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, size1, size2, merkleHashes(head[1:]), root1, root2)
}

func merkleHead(text string) (size uint64, root []byte, err error) {
	lines := strings.Split(text, "\n")
	if size, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return 0, nil, err
	}
	root, err = base64.StdEncoding.DecodeString(lines[2])
	return size, root, err
}

func merkleHashes(lines []string) (hashes [][]byte) {
	for _, line := range lines {
		h, _ := base64.StdEncoding.DecodeString(line)
		hashes = append(hashes, h)
	}
	return hashes
}
