/* $ABOUT
 *
 * C99, integers only, no allocation, nothing but <stdint.h>.
 * Flash: $FLASH bytes of constants, and some hundred of code.
 * RAM: $RAM bytes (${P}_state: $STACK of frames, $SCRATCH of scratch), and less than 256 bytes of
 * call stack from -Os on. Whoever keeps the frames for ${P}_act needs the scratch alone.
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
#define ${M}_FRAME (${M}_HEIGHT * ${M}_WIDTH)
#define ${M}_ACTIONS $A
#define ${M}_FIRST_ACTION $FIRST

/* What the layers write, in turn; the first layer's window is done with before odd is written. */
typedef struct {
    uint8_t even[$EVEN];
    union { uint8_t values[$ODD]; int16_t window[$WINDOW]; } odd;
} ${P}_scratch;

$CONSTANTS
/* min((max(sum, 0) * multiplier + half) >> shift, 255) */
static inline uint8_t ${P}_requantise(int32_t sum, int32_t multiplier, uint8_t shift)
{
    int64_t wide = sum > 0 ? sum : 0;
    wide = (wide * multiplier + (INT64_C(1) << (shift - 1))) >> shift;
    return (uint8_t)(wide < 255 ? wide : 255);
}

/* The first layer: frame - centre under the k x k kernel is gathered once for all its channels. */
static inline void ${P}_first(const uint8_t *const frames[${M}_STACK], int16_t *window, uint8_t *out,
                              const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                              const uint8_t *shift, int32_t k, int32_t stride,
                              int32_t height, int32_t width, int32_t channels)
{
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++) {
            const int8_t *weight = weights;
            int32_t size = 0;
            for (int32_t v = y * stride; v < y * stride + k; v++)
                for (int32_t at = v * ${M}_WIDTH + x * stride, u = 0; u < k; u++, at++)
                    for (int32_t i = 0; i < ${M}_STACK; i++)
                        window[size++] = (int16_t)(frames[i][at] - ${P}_centre[at]);
            for (int32_t c = 0; c < channels; c++) {
                int32_t sum = bias[c];
                for (int32_t i = 0; i < size; i++) sum += window[i] * *weight++;
                *out++ = ${P}_requantise(sum, multiplier[c], shift[c]);
            }
        }
}

/* One output of a later layer: `rows` runs of `run` inputs, `row` apart. */
static inline int32_t ${P}_sum(const uint8_t *in, const int8_t *weight, int32_t bias,
                               int32_t rows, int32_t run, int32_t row)
{
    for (int32_t y = 0; y < rows; y++)
        for (int32_t i = 0; i < run; i++) bias += in[y * row + i] * *weight++;
    return bias;
}

/* A later layer: a run holds the inputs of k columns, a column `depth` of them. */
static inline void ${P}_layer(const uint8_t *in, uint8_t *out, const int8_t *weight,
                              const int32_t *bias, const int32_t *multiplier, const uint8_t *shift,
                              int32_t k, int32_t depth, int32_t stride,
                              int32_t height, int32_t width, int32_t channels, int32_t row)
{
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++)
            for (int32_t c = 0; c < channels; c++) {
                int32_t sum = ${P}_sum(in + y * stride * row + x * stride * depth,
                                       weight + c * k * k * depth, bias[c], k, k * depth, row);
                *out++ = ${P}_requantise(sum, multiplier[c], shift[c]);
            }
}

static inline int32_t ${P}_forward(const uint8_t *const frames[${M}_STACK], int32_t q[${M}_ACTIONS],
                                   ${P}_scratch *scratch)
{
    int32_t best = 0;
$CALLS
    for (int32_t a = 1; a < ${M}_ACTIONS; a++)
        if (q[a] > q[best]) best = a;
    return best + ${M}_FIRST_ACTION;
}

$STEP
#ifndef RTPD_ACTIONS /* a program of one policy may call it by these */
#define RTPD_STACK ${M}_STACK
#define RTPD_HEIGHT ${M}_HEIGHT
#define RTPD_WIDTH ${M}_WIDTH
#define RTPD_FRAME ${M}_FRAME
#define RTPD_ACTIONS ${M}_ACTIONS
#define rtpd_scratch ${P}_scratch
#define rtpd_state ${P}_state
#define rtpd_act ${P}_act
#define rtpd_reset ${P}_reset
#define rtpd_next ${P}_next
#define rtpd_step ${P}_step
#endif

#endif
