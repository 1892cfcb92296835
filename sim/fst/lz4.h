// Blocks in the LZ4 format for Verilator's FST writer, so that no library has to be installed.
// Format: "LZ4 Block Format Description" of the LZ4 project. A sequence is a token (lengths of
// literals and of the match, 4 bits each), the literals, and the match's offset; lengths go on in
// further bytes. Greedy: a match is taken where its first four bytes were seen last.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace penstock_lz4 {

constexpr int LEAST_MATCH = 4;   // bytes
constexpr int LAST_LITERALS = 5; // a block ends with at least so many
constexpr int LAST_MATCH = 12;   // no match starts closer to the end
constexpr int FARTHEST = 65535;
constexpr int HASH_BITS = 14;

inline uint32_t word(const uint8_t *at) {
    uint32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

inline uint8_t *length(uint8_t *to, int rest) {
    for (; rest >= 255; rest -= 255) *to++ = 255;
    *to++ = static_cast<uint8_t>(rest);
    return to;
}

// One sequence; without a match (0) the last one of a block.
inline uint8_t *sequence(uint8_t *to, const uint8_t *literals, int count, int match, int offset) {
    uint8_t *token = to++;
    const int more = match ? match - LEAST_MATCH : 0;
    *token = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | (more < 15 ? more : 15));
    if (count >= 15) to = length(to, count - 15);
    if (count) std::memcpy(to, literals, count);
    to += count;
    if (match) {
        *to++ = static_cast<uint8_t>(offset);
        *to++ = static_cast<uint8_t>(offset >> 8);
        if (more >= 15) to = length(to, more - 15);
    }
    return to;
}

} // namespace penstock_lz4

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// Bytes written into the target, which must hold LZ4_compressBound(size).
inline int LZ4_compress_default(const char *source, char *target, int size, int) {
    using namespace penstock_lz4;
    const uint8_t *const from = reinterpret_cast<const uint8_t *>(source);
    uint8_t *const begin = reinterpret_cast<uint8_t *>(target);
    uint8_t *to = begin;
    std::vector<int> seen(1 << HASH_BITS, -1);
    int literals = 0; // where those not yet written begin
    for (int at = 0; at + LAST_MATCH <= size;) {
        int &last = seen[word(from + at) * 2654435761u >> (32 - HASH_BITS)];
        const int before = last;
        last = at;
        if (before < 0 || at - before > FARTHEST || word(from + before) != word(from + at)) {
            ++at;
            continue;
        }
        int match = LEAST_MATCH;
        while (at + match < size - LAST_LITERALS && from[before + match] == from[at + match])
            ++match;
        to = sequence(to, from + literals, at - literals, match, at - before);
        at += match;
        literals = at;
    }
    to = sequence(to, from + literals, size - literals, 0, 0);
    return static_cast<int>(to - begin);
}
