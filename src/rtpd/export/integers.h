/* $ABOUT
 *
 * C99, integers only, no allocation, nothing but <stdint.h>.
 * Flash: $FLASH bytes of constants, and some hundred of code.
 * RAM: $RAM bytes (${P}_scratch), $STACK bytes of stack frames that the caller keeps, and less than
 * 256 bytes of call stack.
 *
 * frames: the newest ${M}_STACK frames of ${M}_HEIGHT x ${M}_WIDTH grey pixels, oldest first; zeros
 * stand before an episode's first. q: one number an action; a Q-value is $UNIT times it.
 */
#ifndef ${M}_POLICY_H
#define ${M}_POLICY_H
#include <stdint.h>

#define ${M}_STACK $K
#define ${M}_HEIGHT $H
#define ${M}_WIDTH $W
#define ${M}_ACTIONS $A
#define ${M}_FIRST_ACTION $FIRST

typedef struct { uint8_t even[$EVEN]; uint8_t odd[$ODD]; } ${P}_scratch;

$CONSTANTS
/* min((max(sum, 0) * multiplier + half) >> shift, 255) */
static inline uint8_t ${P}_requantise(int32_t sum, int32_t multiplier, uint8_t shift)
{
    int64_t wide = sum > 0 ? sum : 0;
    wide = (wide * multiplier + (INT64_C(1) << (shift - 1))) >> shift;
    return (uint8_t)(wide < 255 ? wide : 255);
}

/* One output: k x k inputs of `depth` channels. A channel's inputs are `plane` apart, a row's `row`,
 * a column's `column`; `centre`, where there is one, is taken off each input. */
static inline int32_t ${P}_sum(const uint8_t *in, const uint8_t *centre, const int8_t *weight,
                               int32_t bias, int32_t k, int32_t depth,
                               int32_t row, int32_t column, int32_t plane)
{
    for (int32_t y = 0; y < k; y++)
        for (int32_t x = 0; x < k; x++)
            for (int32_t i = 0; i < depth; i++) {
                int32_t value = in[y * row + x * column + i * plane];
                if (centre) value -= centre[y * row + x * column];
                bias += value * *weight++;
            }
    return bias;
}

static inline void ${P}_layer(const uint8_t *in, const uint8_t *centre, uint8_t *out,
                              const int8_t *weight, const int32_t *bias, const int32_t *multiplier,
                              const uint8_t *shift, int32_t k, int32_t depth, int32_t stride,
                              int32_t height, int32_t width, int32_t channels,
                              int32_t row, int32_t column, int32_t plane)
{
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++)
            for (int32_t c = 0; c < channels; c++) {
                int32_t at = y * stride * row + x * stride * column;
                int32_t sum = ${P}_sum(in + at, centre ? centre + at : centre,
                                       weight + c * k * k * depth, bias[c], k, depth,
                                       row, column, plane);
                *out++ = ${P}_requantise(sum, multiplier[c], shift[c]);
            }
}

/* Fill q and return the greedy action, the first of equal ones, as the environment numbers it. */
static inline int32_t ${P}_act(const uint8_t frames[${M}_STACK * ${M}_HEIGHT * ${M}_WIDTH],
                               int32_t q[${M}_ACTIONS], ${P}_scratch *scratch)
{
    int32_t best = 0;
$CALLS
    for (int32_t a = 1; a < ${M}_ACTIONS; a++)
        if (q[a] > q[best]) best = a;
    return best + ${M}_FIRST_ACTION;
}

#ifndef RTPD_ACTIONS /* a program of one policy may call it by these */
#define RTPD_STACK ${M}_STACK
#define RTPD_HEIGHT ${M}_HEIGHT
#define RTPD_WIDTH ${M}_WIDTH
#define RTPD_ACTIONS ${M}_ACTIONS
#define rtpd_scratch ${P}_scratch
#define rtpd_act ${P}_act
#endif

#endif
