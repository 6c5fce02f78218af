"""The agents of a run: what they are, and copies of them to play, save and export."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from rtpd.learning.teachers import algorithm_of
from rtpd.learning.train_state import copied
from rtpd.learning.update import Learner, LearnerState
from rtpd.networks import cost, qnet
from rtpd.networks.heads import Scalar
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.agent_id import TEACHER
from rtpd.storage.manifest import AgentInfo
from rtpd.types import EnvSpec, Preprocess, num_parameters


def describe(learner: Learner) -> dict[str, AgentInfo]:
    """What every agent is, by name, teachers first; ConfigError if one cannot be built.

    Of a student of several games, the parameters are those it needs for one of them.
    """
    unseen = {game: neutral(spec) for game, spec in learner.specs.items()}

    def shapes(key: PRNGKeyArray) -> dict[str, tuple[qnet.QNet, dict[str, qnet.QNet]]]:
        return _nets(learner, learner.init(key, unseen))

    agents, found = {}, jax.eval_shape(shapes, jr.key(0))
    for game in learner.specs:
        teacher, students = found[game]
        facts = _teacher_facts(learner, game)
        is_outside = isinstance(learner.policies.get(game), HostPolicy)
        total = facts["parameters"] if is_outside else num_parameters(teacher)
        agents[learner.agent(game, TEACHER)] = AgentInfo(
            net=facts["net"],
            parameters=total,
            share=1.0,
            multiply_adds=None if is_outside else cost.multiply_adds(teacher, learner.specs[game]),
        )
        for student in learner.students:
            net, is_short = students[student.name], student.short == student.name
            agents[learner.agent(game, student.name)] = AgentInfo(
                net=student.net,
                parameters=num_parameters(net),
                share=num_parameters(net) / total if total else None,
                multiply_adds=cost.multiply_adds(net, learner.specs[game]),
                loss=student.loss,
                int8=student.int8,
                settings=list(student.overrides),
                short=None if is_short else learner.agent(game, student.short),
            )
    return agents


def policies(
    learner: Learner,
    state: LearnerState,
    **provenance: Any,  # noqa: ANN401
) -> dict[str, Policy | HostPolicy]:
    """Copies of all agents as they are now: the state's own buffers may be donated any time."""
    agents: dict[str, Policy | HostPolicy] = {}
    about = describe(learner)
    for game, (teacher, students) in _nets(learner, state).items():
        seen = state.teachers[game]
        for name, net in {"teacher": teacher, **students}.items():
            agent, teaches = learner.agent(game, name), name == "teacher"
            outside = learner.policies.get(game)
            if teaches and isinstance(outside, HostPolicy):
                about_it = provenance | _teacher_facts(learner, game)
                agents[agent] = replace(outside, provenance=about_it)
                continue
            facts = {
                "agent": agent,
                "net": about[agent].net,
                "loss": about[agent].loss,
                "teacher": learner.config.teacher.algorithm,
                "dueling": False,
                "norm": False,
                "num_outputs": net.num_outputs,
                **({"int8": True} if about[agent].int8 else {}),
                **provenance,
            }
            if teaches:
                facts |= _teacher_facts(learner, game)
            head = learner.teachers[game].head.acting if teaches else Scalar()
            preprocess = copied(seen.sees if teaches else seen.preprocess)
            agents[agent] = Policy(copied(net), preprocess, learner.specs[game], facts, head)
    return agents


def teachers_to_rank(state: LearnerState) -> dict[str, qnet.QNet]:
    """Copies of the teachers' nets as they act, by game, of which students follow the best."""
    return {
        game: copied(qnet.without_noise(teacher.train.acting))
        for game, teacher in state.teachers.items()
        if teacher.best is not None
    }


def _teacher_facts(learner: Learner, game: str) -> dict[str, Any]:
    """What a teacher's net is; a pretrained one brings its own description."""
    if game in learner.policies:
        return learner.policies[game].provenance | {"agent": learner.agent(game, "teacher")}
    td = learner.config.teacher
    return {
        "net": td.net,
        "dueling": td.dueling,
        "norm": algorithm_of(learner.config.teacher.algorithm).layer_norm,
    }


def _nets(
    learner: Learner, state: LearnerState
) -> dict[str, tuple[qnet.QNet, dict[str, qnet.QNet]]]:
    """By game: the teacher's net as it acts, and its students' with that game's outputs alone."""

    def of_game(game: str) -> tuple[qnet.QNet, dict[str, qnet.QNet]]:
        students = {
            name: qnet.with_actions(student.acting, learner.action_slices[game])
            for name, student in state.students.items()
        }
        teacher = qnet.without_noise(state.teachers[game].train.acting)
        if learner.teachers[game].head.extra:
            teacher = qnet.with_actions(teacher, slice(learner.specs[game].num_actions))
        return teacher, students

    return {game: of_game(game) for game in learner.specs}


def neutral(spec: EnvSpec) -> Preprocess:
    """Leaves frames as they are; stands in until the warm-up has told the centre and scale."""
    return Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(spec.scale_shape))
