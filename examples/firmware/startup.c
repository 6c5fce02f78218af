/* From reset to main: any Cortex-M. Interrupts are not used; every fault ends the program. */
#include "board.h"

extern uint32_t _stack_bottom[], _stack_top[], _data[], _data_end[], _data_load[], _bss[], _bss_end[];

int main(void);
void board_exit(int status);

static void fault(void)
{
    board_report("fault at", *(volatile uint32_t *)0xE000ED28);
    board_exit(1);
}

void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the floating-point unit is off */
    __asm__ volatile("dsb\n isb");
#endif
    /* Nothing below this call's frame is in use yet. */
    for (volatile uint32_t *at = _stack_bottom; at < (uint32_t *)__builtin_frame_address(0) - 16; at++)
        *at = BOARD_PAINT;
    for (uint32_t *to = _data, *from = _data_load; to < _data_end;) *to++ = *from++;
    for (uint32_t *to = _bss; to < _bss_end;) *to++ = 0;
    board_exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    _stack_top, (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
