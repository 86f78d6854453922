"""Trains on scikit-learn's digits with two DataLoader worker processes, and prints the loss of each epoch.

The same seed gives the same output, under `snap run` or not: workers are forked, work, and end with every epoch.
"""
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

EPOCHS = 3


class Digits(Dataset):
    """Adds noise to each image, so that the workers have something to do."""

    def __init__(self):
        digits = load_digits()
        self.pixels = torch.tensor(digits.data, dtype=torch.float32) / 16
        self.labels = torch.tensor(digits.target)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return self.pixels[row] + 0.05 * torch.randn(64), self.labels[row]


def main():
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    loader = DataLoader(Digits(), batch_size=64, shuffle=True, num_workers=2)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for pixels, labels in loader:
            loss = torch.nn.functional.cross_entropy(net(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / len(loader):.6f}", flush=True)


if __name__ == "__main__":
    main()
