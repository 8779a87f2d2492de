"""``manage.py chatsession_doctor``: how good are the sessions of this site, and how would ours do?"""

from __future__ import annotations

import unicodedata
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chatsession.doctor.examinations import EXAMINATIONS, Finding, examine
from chatsession.doctor.patients import Patient, in_database, in_memory, is_ours, the_site


class Command(BaseCommand):
    help = "Examine the sessions of this site in throw-away sessions: lost writes, IDs in clear, and more."
    # The site may be half set up: that is what the doctor is for.
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        try:
            with the_site() as patient:
                found = self.show(_("This site: %(name)s"), patient)
        except (ImproperlyConfigured, ImportError) as error:
            raise CommandError(str(error)) from error
        if not is_ours(patient):
            for other in (in_memory, in_database):
                with other() as patient:
                    self.show(_("In its place: %(name)s"), patient)
        if found:
            text = ngettext("The doctor found %(n)d problem.", "The doctor found %(n)d problems.", found)
            raise CommandError(text % {"n": found})

    def show(self, title: str, patient: Patient) -> int:
        """Print the findings as they come; how many problems there are."""
        self.stdout.write(self.style.MIGRATE_HEADING(title % {"name": patient.name}))
        problems = 0
        for finding in examine(patient):
            self.stdout.write(self.line(finding))
            problems += finding.is_well is False
        self.stdout.write()
        return problems

    def line(self, finding: Finding) -> str:
        verdict, style = {
            True: (_("good"), self.style.SUCCESS),
            False: (_("BAD"), self.style.ERROR),
            None: ("-", self.style.NOTICE),
        }[finding.is_well]
        names = max(width(str(name)) for name in EXAMINATIONS)
        verdicts = max(width(_("good")), width(_("BAD")))
        return f"  {style(padded(verdict, verdicts))}  {padded(str(finding.name), names)}  {finding.text}"


def width(text: str) -> int:
    """Columns on a terminal: two for what East Asia writes wide."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
