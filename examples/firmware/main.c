/* From a sensor to an action, with a policy that `rtpd export --to c` wrote (RTPD_HEADER). */
#include <stdint.h>

#include "board.h"
#include RTPD_HEADER

#ifdef RTPD_FEATURES /* a policy of vectors computes in float32, one of images in integers */
typedef float output;
#else
typedef int32_t output;
#endif

static rtpd_state state;

int main(void)
{
    uint32_t steps = 0, ticks = 0;
    uint8_t first; /* 1 where an episode begins */
    while (board_read(&first, 1)) {
        output q[RTPD_ACTIONS];
        if (first) rtpd_reset(&state);
        if (!board_read(rtpd_next(&state), sizeof state.frames[0])) return 1;
        uint32_t start = board_ticks();
        int32_t action = rtpd_step(&state, q);
        ticks += (board_ticks() - start) & BOARD_TICKS;
        board_write(&action, sizeof action);
        board_write(q, sizeof q);
        steps++;
    }
    board_report("steps", steps);
    board_report("ticks", ticks);
    board_report("stack", board_stack());
    return 0;
}
