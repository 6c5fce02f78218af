/* $ABOUT
 *
 * C99, float32, no allocation, nothing but <stdint.h>.
 * Flash: $FLASH bytes of constants, and some hundred of code.
 * RAM: $RAM bytes (${P}_state: $STACK of frames, $SCRATCH of scratch), and less than 256 bytes of
 * call stack from -Os on. Whoever keeps the frames for ${P}_act needs the scratch alone.
 *
 * frames: the newest ${M}_STACK observations of ${M}_FEATURES numbers, raw, oldest first; zeros stand
 * before an episode's first. q: one number an action.
 */
#ifndef ${M}_POLICY_H
#define ${M}_POLICY_H
#include <stdint.h>

#define ${M}_STACK $K
#define ${M}_FEATURES $F
#define ${M}_FRAME ${M}_FEATURES
#define ${M}_ACTIONS $A
#define ${M}_FIRST_ACTION $FIRST

typedef struct { float even[$EVEN]; float odd[$ODD]; } ${P}_scratch;

$CONSTANTS
static inline void ${P}_layer(const float *in, float *out, const float *weight, const float *bias,
                              int32_t inputs, int32_t outputs, int32_t hidden)
{
    for (int32_t o = 0; o < outputs; o++) {
        float sum = bias[o];
        for (int32_t i = 0; i < inputs; i++) sum += in[i] * *weight++;
        out[o] = hidden && sum < 0.0f ? 0.0f : sum;
    }
}

static inline int32_t ${P}_forward(const float *const frames[${M}_STACK], float q[${M}_ACTIONS],
                                   ${P}_scratch *scratch)
{
    int32_t best = 0;
    for (int32_t k = 0; k < ${M}_STACK; k++)
        for (int32_t i = 0; i < ${M}_FEATURES; i++)
            scratch->odd[k * ${M}_FEATURES + i] = (frames[k][i] - ${P}_centre[i]) / ${P}_scale[i];
$CALLS
    for (int32_t a = 1; a < ${M}_ACTIONS; a++)
        if (q[a] > q[best]) best = a;
    return best + ${M}_FIRST_ACTION;
}

$STEP
#ifndef RTPD_ACTIONS /* a program of one policy may call it by these */
#define RTPD_STACK ${M}_STACK
#define RTPD_FEATURES ${M}_FEATURES
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
