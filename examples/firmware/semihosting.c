/* The board is QEMU, or a Cortex-M under a debugger: the sensor is the file sensor.bin of the PC,
 * actions go to its file actions.bin, by Arm semihosting (a breakpoint that the debugger answers).
 */
#include "board.h"

enum { OPEN = 0x01, WRITE_TEXT = 0x04, WRITE = 0x05, READ = 0x06, EXIT = 0x18 };
enum { READ_BINARY = 1, WRITE_BINARY = 5, APPLICATION_EXIT = 0x20026, ERROR = 0x20023 };

#define SYSTICK ((volatile uint32_t *)0xE000E010) /* control, reload, value */

extern uint32_t _stack_bottom[], _stack_top[];

static uint32_t call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open(const char *name, uint32_t length, uint32_t mode)
{
    uint32_t argument[3] = {(uint32_t)name, mode, length};
    return call(OPEN, argument);
}

int board_read(void *to, uint32_t bytes)
{
    static uint32_t file;
    if (!file) file = open("sensor.bin", 10, READ_BINARY);
    uint32_t argument[3] = {file, (uint32_t)to, bytes};
    return call(READ, argument) == 0; /* how many bytes were not read */
}

void board_write(const void *from, uint32_t bytes)
{
    static uint32_t file;
    if (!file) file = open("actions.bin", 11, WRITE_BINARY);
    uint32_t argument[3] = {file, (uint32_t)from, bytes};
    call(WRITE, argument);
}

uint32_t board_ticks(void)
{
    if (!(SYSTICK[0] & 1)) {
        SYSTICK[1] = BOARD_TICKS;
        SYSTICK[2] = 0;
        SYSTICK[0] = 5; /* on, by the clock of the processor */
    }
    return BOARD_TICKS - SYSTICK[2]; /* it counts down */
}

uint32_t board_stack(void)
{
    const uint32_t *at = _stack_bottom;
    while (at < _stack_top && *at == BOARD_PAINT) at++;
    return (uint32_t)((const char *)_stack_top - (const char *)at);
}

void board_report(const char *name, uint32_t value)
{
    char text[12], *at = text + sizeof text;
    *--at = 0;
    *--at = '\n';
    do *--at = (char)('0' + value % 10); while (value /= 10);
    call(WRITE_TEXT, name);
    call(WRITE_TEXT, " ");
    call(WRITE_TEXT, at);
}

void board_exit(int status)
{
    call(EXIT, (const void *)(status ? ERROR : APPLICATION_EXIT));
    for (;;) {}
}
