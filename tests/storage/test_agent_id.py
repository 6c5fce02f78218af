"""What agents are called."""

import pytest

from rtpd.storage.agent_id import AgentId


@pytest.mark.parametrize(
    ("text", "agent", "teacher"),
    [
        ("net1.7", AgentId("", "net1.7"), "teacher"),
        ("teacher", AgentId("", "teacher"), "teacher"),
        ("pong/net1.7", AgentId("pong", "net1.7"), "pong/teacher"),
        ("pong/teacher", AgentId("pong", "teacher"), "pong/teacher"),
        ("CartPole-v1/mlp16-kl", AgentId("CartPole-v1", "mlp16-kl"), "CartPole-v1/teacher"),
        ("my-teacher", AgentId("", "my-teacher"), "teacher"),
    ],
)
def test_an_agent_is_known_by_its_text(text, agent, teacher):
    assert AgentId.parse(text) == agent and str(agent) == text
    assert str(agent.teacher) == teacher and agent.teacher.is_teacher
    assert agent.is_teacher == (text == teacher)
