"""The doubt about the proof: audit, attack, contradictions, and the memory that keeps certificates compatible."""

from rddrs.trust.attack import Attack, attack
from rddrs.trust.audit import Audit, audit
from rddrs.trust.contradictions import contradictions
from rddrs.trust.extent import audited_inputs, expected_false_alarms
from rddrs.trust.memory import Memory, admit_in_order, overlaps
from rddrs.trust.outcome import Outcome, Recalled, Volatile, certificate_digest
from rddrs.trust.path_attack import PathAttack, attack_path
from rddrs.trust.paths import PathAudit, audit_path

__all__ = [
    "Attack",
    "Audit",
    "Memory",
    "Outcome",
    "PathAttack",
    "PathAudit",
    "Recalled",
    "Volatile",
    "admit_in_order",
    "attack",
    "attack_path",
    "audit",
    "audit_path",
    "audited_inputs",
    "certificate_digest",
    "contradictions",
    "expected_false_alarms",
    "overlaps",
]
