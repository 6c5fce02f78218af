"""The agents of a run: what they are, and copies of them to play, save and export."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from rtpd import nets
from rtpd.learner import Learner, LearnerState
from rtpd.models import acting_net, copied
from rtpd.teachers import TEACHERS
from rtpd.types import EnvSpec, Policy, Preprocess, as_they_are, num_parameters


def describe(learner: Learner) -> dict[str, dict[str, Any]]:
    """Net, parameters and share of the teacher's, by name; ConfigError if a net cannot be built."""
    state = jax.eval_shape(learner.init, jr.key(0), neutral(learner.spec))
    total = num_parameters(jax.eval_shape(nets.without_noise, state.teacher.net))
    agents = {"teacher": {"net": learner.config.td.net, "parameters": total, "share": 1.0}}
    for student in learner.students:
        count = num_parameters(state.students[student.name].net)
        about = {"net": student.net, "parameters": count, "share": count / total}
        agents[student.name] = about | {"loss": student.loss}
    return agents


def policies(learner: Learner, state: LearnerState, **provenance: Any) -> dict[str, Policy]:  # noqa: ANN401
    """Copies of all agents as they are now: the state's own buffers may be donated any time."""
    models = {"teacher": state.teacher} | state.students
    preprocess, about = copied(state.preprocess), describe(learner)
    agents = {}
    for name, model in models.items():
        net = nets.without_noise(acting_net(model))
        facts = {
            "agent": name,
            "net": about[name]["net"],
            "loss": about[name].get("loss"),
            "teacher": learner.config.teacher,
            "dueling": learner.config.td.dueling and name == "teacher",
            "norm": TEACHERS[learner.config.teacher].norm and name == "teacher",
            "num_outputs": net.num_outputs,
        }
        head = learner.teacher.q_values if name == "teacher" else as_they_are
        agents[name] = Policy(copied(net), preprocess, learner.spec, facts | provenance, head)
    return agents


def neutral(spec: EnvSpec) -> Preprocess:
    """Leaves frames as they are; stands in until the warm-up has told the centre and scale."""
    return Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(()))
