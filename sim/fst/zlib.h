// What Verilator's FST writer needs of zlib, so that no library has to be installed: a stream of
// stored blocks (RFC 1950, RFC 1951). It is longer than its content, for which the writer then
// keeps the content itself.
#pragma once

#include <cstdint>
#include <cstring>

using Bytef = uint8_t;
using uLong = unsigned long;
using uLongf = unsigned long;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

// The target must hold compressBound(size); the level does not matter.
inline int compress2(Bytef *target, uLongf *written, const Bytef *source, uLong size, int) {
    Bytef *to = target;
    *to++ = 0x78; // deflate, window of 32 kB
    *to++ = 0x01;
    uLong at = 0;
    do {
        const uLong count = size - at < 65535 ? size - at : 65535;
        *to++ = at + count == size; // the last block
        *to++ = static_cast<Bytef>(count);
        *to++ = static_cast<Bytef>(count >> 8);
        *to++ = static_cast<Bytef>(~count);
        *to++ = static_cast<Bytef>(~count >> 8);
        if (count) std::memcpy(to, source + at, count);
        to += count;
        at += count;
    } while (at < size);
    uint32_t low = 1, high = 0; // Adler-32
    for (uLong i = 0; i < size; ++i) {
        low = (low + source[i]) % 65521;
        high = (high + low) % 65521;
    }
    for (const uint32_t half : {high, low}) {
        *to++ = static_cast<Bytef>(half >> 8);
        *to++ = static_cast<Bytef>(half);
    }
    *written = to - target;
    return Z_OK;
}
