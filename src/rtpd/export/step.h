/* Fill q and return the greedy action, the first of equal ones, as the environment numbers it.
 * The caller keeps the newest frames, one after the other, oldest first. */
static inline int32_t ${P}_act(const ${INPUT} frames[${M}_STACK * ${M}_FRAME],
                               ${OUTPUT} q[${M}_ACTIONS], ${P}_scratch *scratch)
{
    const ${INPUT} *seen[${M}_STACK];
    for (int32_t k = 0; k < ${M}_STACK; k++) seen[k] = frames + k * ${M}_FRAME;
    return ${P}_forward(seen, q, scratch);
}

/* The policy with the newest frames, in a ring: none is ever moved. Call ${P}_reset where an episode
 * begins; then, for each step, put a frame at ${P}_next and call ${P}_step. */
typedef struct {
    ${P}_scratch scratch;
    int32_t oldest;
    ${INPUT} frames[${M}_STACK][${M}_FRAME];
} ${P}_state;

static inline void ${P}_reset(${P}_state *state)
{
    state->oldest = 0;
    for (int32_t k = 0; k < ${M}_STACK; k++)
        for (int32_t i = 0; i < ${M}_FRAME; i++) state->frames[k][i] = 0;
}

/* Where the next frame goes, ${M}_FRAME numbers: a sensor or DMA may write there until the step. */
static inline ${INPUT} *${P}_next(${P}_state *state)
{
    return state->frames[state->oldest];
}

/* Take the frame at ${P}_next; as ${P}_act with the newest frames. */
static inline int32_t ${P}_step(${P}_state *state, ${OUTPUT} q[${M}_ACTIONS])
{
    const ${INPUT} *seen[${M}_STACK];
    state->oldest = state->oldest + 1 < ${M}_STACK ? state->oldest + 1 : 0;
    for (int32_t k = 0, at = state->oldest; k < ${M}_STACK; k++) {
        seen[k] = state->frames[at];
        at = at + 1 < ${M}_STACK ? at + 1 : 0;
    }
    return ${P}_forward(seen, q, &state->scratch);
}
