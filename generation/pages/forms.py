"""The playground's form: fields and files to a GenerationRequest, and a refusal back to its field.

It parses and no more: what a model can do and what a request costs is for the front door to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from generation.contract import ROLES, GenerationRequest, ReferenceInput, Refusal, Role, invalid

MAX_FILE_BYTES = 20 * 1024 * 1024


class PlaygroundForm(forms.Form):
    """What the visitor typed and chose. Always bound, so that a first look and a refused try are shown alike.

    Files come through `references_of`; their field here is where a refusal of one is shown.
    """

    prompt = forms.CharField(required=False, strip=False)
    model = forms.CharField(required=False, max_length=120)
    aspect_ratio = forms.CharField(required=False, max_length=10)
    image_size = forms.CharField(required=False, max_length=10)
    n = forms.IntegerField(required=False)
    search_grounding = forms.BooleanField(required=False)
    references = forms.FileField(required=False)
    previous = forms.CharField(required=False, max_length=40)
    key = forms.CharField(required=False, max_length=60)

    def to_request(self, references: Sequence[ReferenceInput] = (), *, blank_prompt: str = "") -> GenerationRequest:
        """The checked form as a request. `blank_prompt` stands in where nothing was typed yet."""
        data: Mapping[str, Any] = self.cleaned_data
        prompt = data["prompt"].replace("\r\n", "\n")
        return GenerationRequest(
            prompt=prompt if prompt.strip() else blank_prompt,
            model=data["model"],
            n=1 if data["n"] is None else data["n"],
            aspect_ratio=data["aspect_ratio"] or None,
            image_size=data["image_size"] or None,
            references=tuple(references),
            previous=data["previous"],
            search_grounding=data["search_grounding"],
        )

    def refuse(self, refusal: Refusal) -> None:
        """Show a refusal at the field it names, or above the form."""
        name = (refusal.param or "").partition("[")[0]
        self.add_error(name if name in self.fields and name != "previous" else None, refusal.message)


def roles_of(request: HttpRequest) -> list[Role]:
    """The roles chosen, one for each file; `object` where none or an unknown one was."""
    found = request.POST.getlist("role")
    return [each if each in ROLES else "object" for each in found]


def references_of(request: HttpRequest) -> list[ReferenceInput]:
    """The uploaded files with their roles; one role alone is the role of all. Refuses what is too large to read."""
    files = request.FILES.getlist("references")
    roles = roles_of(request) or ["object"]
    if len(roles) < len(files):
        roles = [*roles, *[roles[-1]] * (len(files) - len(roles))]
    return [_reference(file, role) for file, role in zip(files, roles, strict=False)]


def _reference(file: UploadedFile[Any], role: Role) -> ReferenceInput:
    name = str(file.name or "")[:100]
    if (file.size or 0) > MAX_FILE_BYTES:
        raise invalid("references", f"{name} is larger than 20 MB.", "reference_too_large")
    if not file.size:
        raise invalid("references", f"{name} is empty.", "reference_not_decodable")
    return ReferenceInput(role=role, name=name, data=file.read())
