"""PhysioNet/CinC Challenge 2020 and 2021, with the Chapman-Shaoxing-Ningbo task."""
